"""The class exercise: a C program's secret, dumped natively and in the software enclave."""
