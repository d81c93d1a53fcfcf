"""The parts of nets: layers, embeddings, the base class of recipes, native operators."""
