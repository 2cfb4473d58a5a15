"""Hardware: the units and the engine built of them. Imports amaranth and nothing else of ours."""
