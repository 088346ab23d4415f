-- The PDF is made by Typst, which comes with Quarto; LaTeX would need an installation of its own.
if FORMAT == "latex" then
  io.stderr:write("error: the PDF is made by: make pdf (without make: quarto render --profile pdf --to typst)\n")
  os.exit(2)
end
