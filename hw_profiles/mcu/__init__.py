"""Microcontrollers: networks in 8 bits as C, run as machine code in an emulator that counts."""
