"""What happens before and while weights are read."""
