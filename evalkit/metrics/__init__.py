"""How a prediction becomes a record and records become estimates; one file per domain of answers."""
