"""What client, server and simulations share: study, settings, wire format, model and statistics."""
