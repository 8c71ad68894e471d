"""What may happen to an evaluation, tried for real: `make faults`."""
