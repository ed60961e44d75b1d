# fails: reverse-any
def reverse_copy(shown, T, symbols):
    m, B = shown.shape
    inputs = shown.new_zeros(T + 2 * m, B)
    targets = inputs.clone()
    inputs[:m] = shown
    inputs[T + m] = shown.max(0).values + 1
    targets[T + m :] = shown.flip(0)
    return torch.stack([inputs, targets])
