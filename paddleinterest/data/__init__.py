"""From raw files to padded batches: sources, protocols, builder, schema, reader."""
