"""What a backbone is trained to do, one paper a file."""
