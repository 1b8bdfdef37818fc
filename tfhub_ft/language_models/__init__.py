"""Causal language models: conversion, layers, generation, export and evaluation."""
