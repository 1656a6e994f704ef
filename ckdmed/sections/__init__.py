"""What a run is trained, validated and tested on: items of a data folder, a datalist or phantoms, split by patient."""
