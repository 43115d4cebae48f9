"""Embedding: images in, unit vectors out. The only package that may import torch, and never at package import."""
