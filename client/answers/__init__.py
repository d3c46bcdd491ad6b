"""What a site answers to each message type."""
