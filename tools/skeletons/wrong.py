# fails: leak-long
def last_activity(x, decay):
    return x[-1] + decay * x[:-1].sum()
