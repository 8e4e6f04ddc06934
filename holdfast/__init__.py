"""Holdfast: do edits to text-to-image diffusion models hold fast through fine-tuning?"""

__version__ = "0.1.0"
