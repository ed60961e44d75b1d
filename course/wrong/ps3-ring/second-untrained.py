# fails: ring-honest
def learn(start):
    net, data = network(start, seed % 10**6), stream(seed, "data")
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(800 if start == "shift" else 10):
        x, y = batch(64, data)
        loss = cross_entropy(net(x, every_step=True)[:, 0].flatten(0, 1), y.flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    return net
