"""Importing this file registers every network: one line a paper."""

# ruff: noqa: F401
import striate.zoo.alexnet
import striate.zoo.allcnn
import striate.zoo.densenet
import striate.zoo.googlenet
import striate.zoo.inception_resnet_v2
import striate.zoo.inception_v3
import striate.zoo.lenet
import striate.zoo.mlp
import striate.zoo.mnist_tiny
import striate.zoo.mobilenet_v1
import striate.zoo.mobilenet_v2
import striate.zoo.nasnet
import striate.zoo.nin
import striate.zoo.notes
import striate.zoo.resnet
import striate.zoo.resnet_cifar
import striate.zoo.resnet_v2
import striate.zoo.resnext
import striate.zoo.se_inception
import striate.zoo.senet
import striate.zoo.squeezenet
import striate.zoo.very_deep
import striate.zoo.vgg
import striate.zoo.xception
import striate.zoo.zfnet
