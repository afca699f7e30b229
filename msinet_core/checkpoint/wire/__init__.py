"""Encodings that several formats share, each checked before it is trusted."""
