// Package kvm holds the tests of our own virtual machine monitor that need a
// /dev/kvm which runs Linux. `make test-kvm` runs them: on this host if its
// /dev/kvm works, otherwise in an outer VM; see docs/testing.md.
package kvm
