// Package archtest holds the tests of the tree itself: which package may reach
// which, which modules Holt depends on and why, where unsafe code may stand,
// and that every package says what it is for.
//
// The linter's depguard rules name the same arrows for single imports and show
// a breach in the editor. The tests here see what those rules cannot: what a
// package reaches through others, naming patterns, and files for other
// architectures and build tags. Each rule carries its reason, and changing one
// is a decision that belongs in the commit's message.
package archtest
