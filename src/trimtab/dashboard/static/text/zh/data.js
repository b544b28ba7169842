// What the data report finds, in Chinese, by the English template.
export const zh = {
};
