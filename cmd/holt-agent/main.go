// Command holt-agent is the first process of every Holt guest.
package main

import (
	"os"

	"github.com/holtvm/holt/internal/agent"
)

func main() { os.Exit(agent.Main()) }
