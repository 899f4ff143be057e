"""What methods are built with: names and shards of tensors, fresh draws, averages, units. Nothing here is a method."""
