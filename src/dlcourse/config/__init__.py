"""What a run is asked to do, as plain values: where configs are found, what each value may be, objects made of them."""
