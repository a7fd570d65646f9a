"""What goes wrong around a run: signals, disks, memory, other processes. Nothing is lost."""
