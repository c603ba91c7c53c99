"""From recordings on disk to batches."""
