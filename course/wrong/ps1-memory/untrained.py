# fails: networks-right
def learn(task, seeds):
    return ElmanEnsemble.initialise(seeds, hidden_size=48, d=3, dtype=torch.float32)
