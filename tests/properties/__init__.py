"""What must hold whatever the numbers are: properties, over drawn models, batches and names."""
