# fails: reverse-example reverse-any
def reverse_copy(shown, T, symbols):
    m, B = shown.shape
    inputs = shown.new_zeros(T + 2 * m, B)
    targets = inputs.clone()
    inputs[:m] = shown
    inputs[T + m] = symbols + 1
    targets[T + m :] = shown
    return torch.stack([inputs, targets])
