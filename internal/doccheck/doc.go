// Package doccheck holds the tests of the documentation: the files, links and
// tests that a page names exist, and SPEC.md ties each promise to what holds it.
//
// Prose rots where nothing reads it. These tests read all Markdown of the tree;
// the commands in docs/running.md are run by the guest tests in test/tcg.
package doccheck
