"""A LaTeX document of all tables and figures, to be looked at as it is or taken apart."""

from __future__ import annotations

from reports.formats.latex import escape
from reports.report import Report

HEAD = r"""% Every table and figure of a report. Compile in this folder: pdflatex paper.tex (or tectonic paper.tex).
\documentclass[10pt]{article}
\usepackage[a4paper,margin=1.7cm]{geometry}
\usepackage{booktabs,graphicx,amssymb}
\ifdefined\Umathcode\else\usepackage[T1]{fontenc}\fi
\usepackage{lmodern}
\newcommand{\shown}[1]{\sbox0{\includegraphics{#1}}%
  \ifdim\wd0>\linewidth\includegraphics[width=\linewidth,height=0.85\textheight,keepaspectratio]{#1}%
  \else\ifdim\ht0>0.85\textheight\includegraphics[height=0.85\textheight]{#1}\else\usebox0\fi\fi}
\input{macros}
\begin{document}
"""
FLUSH = r"\clearpage"


def document(report: Report) -> str:
    """The document; it takes the report's own files in."""
    parts = [HEAD, rf"\section*{{{escape(report.title)}}}", escape(report.lead), ""]
    parts += [rf"\par\textbf{{{escape(warning)}}}" for warning in report.warnings]
    for section in report.sections:
        parts += [
            "",
            rf"\section*{{{escape(section.title)}}}\suppressfloats[t]",
            *(rf"{escape(text)}\par" for text in section.text),
        ]
        parts += [rf"\input{{tables/{grid.name}}}" for grid in section.grids]
        parts += [FLUSH] if section.grids and section.pictures else []
        for picture in section.pictures:
            parts += [
                r"\begin{figure}[htbp]\centering",
                rf"\shown{{figures/{picture.name}.pdf}}",
                rf"\caption{{{escape(picture.caption)}}}\label{{fig:{picture.name}}}",
                r"\end{figure}",
            ]
        parts.append(FLUSH)
    return "\n".join([*parts, r"\section*{Implementation details}", r"\input{details}", r"\end{document}", ""])
