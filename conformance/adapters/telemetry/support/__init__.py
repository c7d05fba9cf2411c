"""What several telemetry sources share. No source of its own: the folder scan passes packages over."""
