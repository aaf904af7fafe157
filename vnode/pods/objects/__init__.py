"""What pods refer to: ConfigMaps, Secrets, tokens and service variables, and their copies."""
