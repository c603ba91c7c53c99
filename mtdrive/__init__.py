"""Train end-to-end driving policies with auxiliary tasks on one shared encoder."""
