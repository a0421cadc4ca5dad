// Command holt runs programs in microVMs.
package main

import (
	"os"

	"github.com/holtvm/holt/internal/cli"
)

func main() { os.Exit(cli.Execute(os.Args[1:])) }
