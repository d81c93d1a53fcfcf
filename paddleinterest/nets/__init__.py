"""What nets are made of: layers, embeddings, the base class of recipes, native operators."""
