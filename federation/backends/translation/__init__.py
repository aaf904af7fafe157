"""What translations of tenant pods share, wherever the pods go. Pure."""
