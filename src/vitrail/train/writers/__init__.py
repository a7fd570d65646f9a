"""What records a run: one interface, and a file for each program that shows runs."""
