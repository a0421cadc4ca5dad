// Package tcg holds the tests that boot real guests through the built holt
// binary. They need no KVM: QEMU's software emulation does. `make test-tcg` runs
// them. Those that neither measure nor count what there is run beside each other.
package tcg
