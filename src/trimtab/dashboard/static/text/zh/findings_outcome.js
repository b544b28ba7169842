// Findings on data, labels and results, with their remedies, in Chinese, by the English template.
export const zh = {
};
