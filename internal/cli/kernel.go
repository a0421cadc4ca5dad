package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

func newKernel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Manage guest kernels",
		Long: `Guest kernels are kept in Holt's data directory, each with the modules that it
needs. 'holt run' uses the default one, unless --kernel names another.`,
		Example: `  holt kernel fetch                            the distribution's cloud kernel
  holt kernel import --host                    the one that runs this host
  holt kernel import bzImage --modules DIR     any other
  holt kernel build                            Holt's own, which starts fastest
  holt kernel ls`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKernelLs(), newKernelFetch(), newKernelImport(), newKernelBuild(), newKernelDefault(), newKernelRm())
	return cmd
}

func openStore() (*kernel.Store, error) {
	dirs, err := paths.Default()
	if err != nil {
		return nil, err
	}
	return kernel.Open(dirs), nil
}

// findKernel turns --kernel into a path: a name in the store, or a file.
func (f *runFlags) findKernel(path *string) error {
	if !strings.Contains(f.kernel, "/") {
		store, err := openStore()
		if err != nil {
			return err
		}
		k, err := store.Get(f.kernel)
		if err == nil {
			*path = k.ImagePath()
			return nil
		}
		if !errors.Is(err, kernel.ErrNotFound) {
			return err
		}
		if _, err := os.Stat(f.kernel); err != nil {
			return fmt.Errorf("--kernel: %q: neither a kernel of `holt kernel ls` nor a file", f.kernel)
		}
	}
	return absolute(path, f.kernel)
}

func newKernelLs() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List guest kernels",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			kernels, err := store.List()
			if err != nil {
				return err
			}
			def, err := store.Default()
			if err != nil && !errors.Is(err, kernel.ErrNoKernel) {
				return err
			}
			if asJSON {
				return printKernelsJSON(cmd, kernels, def.Name)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tVERSION\tFORMAT\tDEFAULT\tSOURCE")
			for _, k := range kernels {
				mark := ""
				if k.Name == def.Name {
					mark = "yes"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Name, k.Version, k.ImageFormat, mark, k.Source)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printKernelsJSON(cmd *cobra.Command, kernels []kernel.Kernel, def string) error {
	type row struct {
		kernel.Manifest
		Path    string `json:"path"`
		Default bool   `json:"default"`
	}
	rows := []row{}
	for _, k := range kernels {
		rows = append(rows, row{k.Manifest, k.ImagePath(), k.Name == def})
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(rows)
}

func newKernelFetch() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch",
		Short: "Get the distribution's cloud kernel",
		Long: `Download the distribution's kernel for cloud machines with its own package
client (apt), as any user, and unpack it into Holt's data directory. Nothing is
installed on the host.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			steps := newSteps()
			k, err := store.Fetch(cmd.Context(), steps.show)
			steps.clear()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.Name)
			return err
		},
	}
}

func newKernelImport() *cobra.Command {
	var o kernel.ImportOptions
	var host bool
	cmd := &cobra.Command{
		Use:   "import [IMAGE]",
		Short: "Take a kernel image from a file, or the host's own",
		Example: `  holt kernel import --host
  holt kernel import ./bzImage --name mine
  holt kernel import /boot/vmlinuz-6.1.0-18-amd64 --modules /lib/modules/6.1.0-18-amd64`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if host == (len(args) == 1) {
				return errors.New("give either IMAGE or --host")
			}
			store, err := openStore()
			if err != nil {
				return err
			}
			defer progress("importing…")()
			var k kernel.Kernel
			if host {
				k, err = store.ImportHost(cmd.Context())
			} else {
				o.Image = args[0]
				k, err = store.Import(cmd.Context(), o)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.Name)
			return err
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&host, "host", false, "import the running host's kernel from /boot")
	fl.StringVar(&o.ModulesDir, "modules", "", "the kernel's modules `DIR`, such as /lib/modules/VERSION; without it, all must be built in")
	fl.StringVar(&o.Name, "name", "", "`NAME` in the store (default: the kernel's version)")
	fl.BoolVar(&o.Replace, "replace", false, "replace another kernel of that name")
	return cmd
}

func newKernelDefault() *cobra.Command {
	return &cobra.Command{
		Use:   "default NAME",
		Short: "Choose the kernel that runs use by default",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			return store.SetDefault(cmd.Context(), args[0])
		},
	}
}

func newKernelRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a kernel",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := openStore()
			if err != nil {
				return err
			}
			return store.Remove(cmd.Context(), args[0])
		},
	}
}
