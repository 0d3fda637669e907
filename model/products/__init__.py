"""The products that `model.scenes` draws, one function each."""
