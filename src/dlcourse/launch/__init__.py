"""From what a user typed to configs: Hydra's composition, checked before anything heavy is imported."""
