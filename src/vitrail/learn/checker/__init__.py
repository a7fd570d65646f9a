"""The checker of a learner's file: its stages, a diagnosis, and limits on the file."""
