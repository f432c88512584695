"""One family of models, one file: their layouts, read into stock transformers classes."""
