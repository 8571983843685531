from fna_mm.cli import main

main()
