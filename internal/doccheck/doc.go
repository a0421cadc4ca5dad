// Package doccheck holds the tests of the documentation: the files, links and
// tests that a page names exist, Go code on a page is that of an example, the table
// of states is the one of the code, and SPEC.md ties each promise to what holds it.
//
// Prose rots where nothing reads it. These tests read all Markdown of the tree;
// the commands in the pages' console blocks are run by the guest tests in
// test/tcg and test/kvm.
package doccheck
