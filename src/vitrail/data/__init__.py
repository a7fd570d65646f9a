"""Images in: sources, decoding, batches, views. Stands alone; knows nothing of models."""
