// Package state keeps one directory for each VM: what the VM is, how far it got,
// and who is in charge of it. There is no daemon; whoever works on a VM looks here.
//
// A VM that stays after its end ("kept") has its directory below the data
// directory, any other below the runtime directory. In it are
//
//	lock        locked by the VM's monitor for its whole life
//	vm.json     the [Record]: what the VM is
//	state.json  the [Status]: how far it got, written by whoever holds the lock
//	control.sock, output.log, console.log, monitor.log: the monitor's
//
// The kernel gives the lock up when the monitor dies, however it dies. So whether
// a VM runs is never read from a file: a free lock means that it does not, whatever
// state.json says, and the one who then takes the lock may start or remove it.
package state
