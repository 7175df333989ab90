"""NTNU TDT4265, assignment 1: logistic and softmax regression on MNIST, when they stop, a penalty on the weights."""
