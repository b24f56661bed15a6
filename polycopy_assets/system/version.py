"""The version of this package: sent with requests, stored with objects, read by the build."""

VERSION = "0.1.0"
