# SPDX-License-Identifier: Apache-2.0
"""Write a file as a C array: embed.py INPUT OUTPUT NAME HEADER"""
import sys

source, target, name, header = sys.argv[1:]
with open(source, 'rb') as f:
    data = f.read()
with open(target, 'w') as f:
    f.write(f'#include "{header}"\n\nconst char {name}[] = {{\n')
    for i in range(0, len(data), 16):
        f.write('    ' + ', '.join(str(b if b < 128 else b - 256) for b in data[i:i + 16]) + ',\n')
    f.write(f'}};\nconst size_t {name}_size = sizeof({name});\n')
