"""From raw files to padded batches: sources, builder, schema, reader."""
